-- schema 0005; application_id = 0, user_version = 0, encoding = UTF-8, page_size = 4096, auto_vacuum = 0

CREATE INDEX ix_captures_camera ON captures ( camera );

CREATE INDEX ix_captures_taken_at ON captures ( taken_at );

CREATE INDEX ix_chunks_batch_state ON chunks ( batch,
  state );

CREATE INDEX ix_keyword_exports_hash_after ON keyword_exports ( hash_after );

CREATE INDEX ix_keyword_exports_photo_id ON keyword_exports ( photo_id );

CREATE INDEX ix_keywords_keyword ON keywords ( keyword );

CREATE INDEX ix_photos_content_hash ON photos ( content_hash );

CREATE INDEX ix_photos_inode ON photos ( inode );

CREATE INDEX ix_photos_lead_id ON photos ( lead_id );

CREATE INDEX ix_predictions_model_id_content_hash ON predictions ( model_id,
  content_hash );

CREATE INDEX ix_reviews_photo_id_id ON reviews ( photo_id,
  id );

CREATE INDEX ix_reviews_sample_id_photo_id ON reviews ( sample_id,
  photo_id );

CREATE INDEX ix_sample_items_photo_id ON sample_items ( photo_id );

CREATE INDEX ix_tags_model_id ON tags ( model_id );

CREATE INDEX ix_tags_novelty ON tags ( novelty );

CREATE INDEX ix_tags_superclass_subclass ON tags ( superclass,
  subclass );

CREATE INDEX ix_tags_tagged_at ON tags ( tagged_at );

CREATE TABLE alembic_version ( version_num VARCHAR(32) NOT NULL,
  CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num) );

CREATE TABLE captures ( photo_id INTEGER NOT NULL,
  modified_ns BIGINT NOT NULL,
  sidecar_modified_ns BIGINT,
  taken_at VARCHAR(32),
  utc_offset_minutes INTEGER,
  camera TEXT,
  camera_serial TEXT,
  lens TEXT,
  latitude DOUBLE,
  longitude DOUBLE,
  rating INTEGER,
  CONSTRAINT ck_captures_place CHECK ((latitude IS NULL) = (longitude IS NULL)),
  CONSTRAINT fk_captures_photo_id_photos FOREIGN KEY(photo_id) REFERENCES photos (id) ON DELETE CASCADE,
  CONSTRAINT pk_captures PRIMARY KEY (photo_id) );

CREATE TABLE chunks ( id INTEGER NOT NULL,
  batch VARCHAR(64) NOT NULL,
  payload BLOB NOT NULL,
  state VARCHAR(16) NOT NULL,
  owner TEXT,
  lease_until DATETIME,
  tries INTEGER NOT NULL,
  error TEXT,
  CONSTRAINT ck_chunks_state CHECK (state IN ('waiting', 'leased', 'done', 'failed')),
  CONSTRAINT ck_chunks_tries CHECK (tries >= 0),
  CONSTRAINT pk_chunks PRIMARY KEY (id) );

CREATE TABLE keyword_exports ( id INTEGER NOT NULL,
  photo_id INTEGER,
  path_bytes BLOB NOT NULL,
  path_text TEXT NOT NULL,
  kind VARCHAR(16) NOT NULL,
  state VARCHAR(16) NOT NULL,
  hash_before BLOB,
  hash_after BLOB,
  edits BLOB NOT NULL,
  written JSON NOT NULL,
  withdrawn JSON NOT NULL,
  planned JSON,
  written_at DATETIME NOT NULL,
  CONSTRAINT ck_keyword_exports_kind CHECK (kind IN ('sidecar', 'embedded')),
  CONSTRAINT ck_keyword_exports_planned CHECK ((planned IS NULL) = (state = 'written')),
  CONSTRAINT ck_keyword_exports_state CHECK (state IN ('planned', 'written')),
  CONSTRAINT fk_keyword_exports_photo_id_photos FOREIGN KEY(photo_id) REFERENCES photos (id) ON DELETE SET NULL,
  CONSTRAINT pk_keyword_exports PRIMARY KEY (id),
  CONSTRAINT uq_keyword_exports_path_bytes UNIQUE (path_bytes) );

CREATE TABLE keywords ( photo_id INTEGER NOT NULL,
  keyword TEXT NOT NULL,
  CONSTRAINT fk_keywords_photo_id_photos FOREIGN KEY(photo_id) REFERENCES photos (id) ON DELETE CASCADE,
  CONSTRAINT pk_keywords PRIMARY KEY (photo_id, keyword) );

CREATE TABLE leases ( sample_id INTEGER NOT NULL,
  position INTEGER NOT NULL,
  holder TEXT NOT NULL,
  ends_at DATETIME NOT NULL,
  CONSTRAINT fk_leases_sample_id_samples FOREIGN KEY(sample_id) REFERENCES samples (id) ON DELETE CASCADE,
  CONSTRAINT pk_leases PRIMARY KEY (sample_id, position) );

CREATE TABLE models ( id INTEGER NOT NULL,
  hash VARCHAR(64) NOT NULL,
  name TEXT NOT NULL,
  backbone TEXT NOT NULL,
  taxonomy JSON NOT NULL,
  metrics JSON NOT NULL,
  created_at DATETIME NOT NULL,
  CONSTRAINT pk_models PRIMARY KEY (id),
  CONSTRAINT uq_models_hash UNIQUE (hash) );

CREATE TABLE notes ( name VARCHAR(64) NOT NULL,
  value TEXT NOT NULL,
  changed_at DATETIME NOT NULL,
  CONSTRAINT pk_notes PRIMARY KEY (name) );

CREATE TABLE "photos" ( id INTEGER NOT NULL,
  path_bytes BLOB NOT NULL,
  path_text TEXT NOT NULL,
  size_bytes BIGINT NOT NULL,
  modified_ns BIGINT NOT NULL,
  changed_ns BIGINT NOT NULL,
  inode BIGINT NOT NULL,
  content_hash BLOB,
  width INTEGER,
  height INTEGER,
  state VARCHAR(16) NOT NULL,
  error_kind VARCHAR(32),
  error TEXT,
  attempts INTEGER NOT NULL,
  first_seen_at DATETIME NOT NULL,
  last_seen_at DATETIME NOT NULL,
  missing_since DATETIME,
  lead_id BIGINT,
  written BIGINT DEFAULT '0' NOT NULL,
  CONSTRAINT ck_photos_attempts CHECK (attempts >= 0),
  CONSTRAINT ck_photos_state CHECK (state IN ('ok', 'unreadable', 'unsupported', 'missing')),
  CONSTRAINT fk_photos_lead_id_photos FOREIGN KEY(lead_id) REFERENCES photos (id) ON DELETE SET NULL,
  CONSTRAINT pk_photos PRIMARY KEY (id),
  CONSTRAINT uq_photos_path_bytes UNIQUE (path_bytes) );

CREATE TABLE predictions ( photo_id INTEGER NOT NULL,
  model_id INTEGER NOT NULL,
  content_hash BLOB NOT NULL,
  scores BLOB NOT NULL,
  predicted_at DATETIME NOT NULL,
  CONSTRAINT fk_predictions_model_id_models FOREIGN KEY(model_id) REFERENCES models (id),
  CONSTRAINT fk_predictions_photo_id_photos FOREIGN KEY(photo_id) REFERENCES photos (id) ON DELETE CASCADE,
  CONSTRAINT pk_predictions PRIMARY KEY (photo_id, model_id) );

CREATE TABLE reviews ( id INTEGER NOT NULL,
  photo_id INTEGER NOT NULL,
  content_hash BLOB NOT NULL,
  superclass TEXT,
  subclass TEXT,
  rank VARCHAR(16) NOT NULL,
  verdict VARCHAR(16) NOT NULL,
  origin VARCHAR(16) NOT NULL,
  sample_id INTEGER,
  shown_superclass TEXT,
  shown_subclass TEXT,
  shown_rank VARCHAR(16),
  shown_superclass_score DOUBLE,
  shown_subclass_score DOUBLE,
  shown_model_id INTEGER,
  previous_tag JSON,
  token TEXT,
  reviewed_at DATETIME NOT NULL,
  undone_at DATETIME,
  CONSTRAINT ck_reviews_origin CHECK (origin IN ('review', 'import', 'named')),
  CONSTRAINT ck_reviews_rank CHECK (rank IN ('subclass', 'superclass', 'none')),
  CONSTRAINT ck_reviews_subclass CHECK ((subclass IS NOT NULL) = (rank = 'subclass')),
  CONSTRAINT ck_reviews_superclass CHECK ((superclass IS NULL) = (rank = 'none')),
  CONSTRAINT ck_reviews_verdict CHECK (verdict IN ('right', 'superclass_wrong', 'subclass_wrong', 'none', 'label')),
  CONSTRAINT fk_reviews_photo_id_photos FOREIGN KEY(photo_id) REFERENCES photos (id) ON DELETE CASCADE,
  CONSTRAINT fk_reviews_sample_id_samples FOREIGN KEY(sample_id) REFERENCES samples (id) ON DELETE SET NULL,
  CONSTRAINT fk_reviews_shown_model_id_models FOREIGN KEY(shown_model_id) REFERENCES models (id),
  CONSTRAINT pk_reviews PRIMARY KEY (id),
  CONSTRAINT uq_reviews_token UNIQUE (token) );

CREATE TABLE revision ( id INTEGER NOT NULL,
  number BIGINT NOT NULL,
  writer BIGINT NOT NULL,
  tagger BIGINT NOT NULL,
  CONSTRAINT ck_revision_id CHECK (id = 1),
  CONSTRAINT pk_revision PRIMARY KEY (id) );

CREATE TABLE runs ( id INTEGER NOT NULL,
  kind VARCHAR(32) NOT NULL,
  started_at DATETIME NOT NULL,
  finished_at DATETIME,
  model_id INTEGER,
  device TEXT,
  runtime TEXT,
  version VARCHAR(32) NOT NULL,
  counts JSON,
  error TEXT,
  CONSTRAINT fk_runs_model_id_models FOREIGN KEY(model_id) REFERENCES models (id),
  CONSTRAINT pk_runs PRIMARY KEY (id) );

CREATE TABLE sample_items ( sample_id INTEGER NOT NULL,
  position INTEGER NOT NULL,
  photo_id INTEGER NOT NULL,
  stratum TEXT NOT NULL,
  inclusion_probability DOUBLE,
  content_hash BLOB NOT NULL,
  superclass TEXT,
  subclass TEXT,
  rank VARCHAR(16) NOT NULL,
  superclass_score DOUBLE NOT NULL,
  subclass_score DOUBLE NOT NULL,
  novelty DOUBLE NOT NULL,
  model_id INTEGER,
  skipped_at DATETIME,
  CONSTRAINT ck_sample_items_inclusion_probability CHECK (inclusion_probability > 0 AND inclusion_probability <= 1),
  CONSTRAINT ck_sample_items_position CHECK (position >= 1),
  CONSTRAINT ck_sample_items_rank CHECK (rank IN ('subclass', 'superclass', 'none')),
  CONSTRAINT ck_sample_items_subclass CHECK ((subclass IS NOT NULL) = (rank = 'subclass')),
  CONSTRAINT ck_sample_items_superclass CHECK ((superclass IS NULL) = (rank = 'none')),
  CONSTRAINT fk_sample_items_model_id_models FOREIGN KEY(model_id) REFERENCES models (id),
  CONSTRAINT fk_sample_items_photo_id_photos FOREIGN KEY(photo_id) REFERENCES photos (id) ON DELETE CASCADE,
  CONSTRAINT fk_sample_items_sample_id_sample_strata FOREIGN KEY(sample_id, stratum) REFERENCES sample_strata (sample_id, stratum) ON DELETE CASCADE,
  CONSTRAINT fk_sample_items_sample_id_samples FOREIGN KEY(sample_id) REFERENCES samples (id) ON DELETE CASCADE,
  CONSTRAINT pk_sample_items PRIMARY KEY (sample_id, position),
  CONSTRAINT uq_sample_items_sample_id UNIQUE (sample_id, photo_id) );

CREATE TABLE sample_strata ( sample_id INTEGER NOT NULL,
  stratum TEXT NOT NULL,
  population INTEGER NOT NULL,
  drawn INTEGER NOT NULL,
  CONSTRAINT ck_sample_strata_drawn CHECK (drawn >= 0 AND drawn <= population),
  CONSTRAINT fk_sample_strata_sample_id_samples FOREIGN KEY(sample_id) REFERENCES samples (id) ON DELETE CASCADE,
  CONSTRAINT pk_sample_strata PRIMARY KEY (sample_id, stratum) );

CREATE TABLE samples ( id INTEGER NOT NULL,
  name TEXT NOT NULL,
  created_at DATETIME NOT NULL,
  design VARCHAR(16) NOT NULL,
  strata_by TEXT,
  size INTEGER NOT NULL,
  population INTEGER NOT NULL,
  seed BIGINT NOT NULL,
  for_estimation BOOLEAN NOT NULL,
  model_id INTEGER,
  parameters JSON NOT NULL,
  CONSTRAINT ck_samples_design CHECK (design IN ('simple', 'stratified', 'focus')),
  CONSTRAINT ck_samples_size CHECK (size >= 0 AND size <= population),
  CONSTRAINT fk_samples_model_id_models FOREIGN KEY(model_id) REFERENCES models (id),
  CONSTRAINT pk_samples PRIMARY KEY (id),
  CONSTRAINT uq_samples_name UNIQUE (name) );

CREATE TABLE tags ( photo_id INTEGER NOT NULL,
  superclass TEXT,
  subclass TEXT,
  rank VARCHAR(16) NOT NULL,
  superclass_score DOUBLE NOT NULL,
  subclass_score DOUBLE NOT NULL,
  novelty DOUBLE NOT NULL,
  source VARCHAR(16) NOT NULL,
  model_id INTEGER,
  tagged_at DATETIME NOT NULL,
  written BIGINT DEFAULT '0' NOT NULL,
  CONSTRAINT ck_tags_model CHECK (source = 'human' OR model_id IS NOT NULL),
  CONSTRAINT ck_tags_rank CHECK (rank IN ('subclass', 'superclass', 'none')),
  CONSTRAINT ck_tags_source CHECK (source IN ('model', 'human')),
  CONSTRAINT ck_tags_subclass CHECK ((subclass IS NOT NULL) = (rank = 'subclass')),
  CONSTRAINT ck_tags_superclass CHECK ((superclass IS NULL) = (rank = 'none')),
  CONSTRAINT fk_tags_model_id_models FOREIGN KEY(model_id) REFERENCES models (id),
  CONSTRAINT fk_tags_photo_id_photos FOREIGN KEY(photo_id) REFERENCES photos (id) ON DELETE CASCADE,
  CONSTRAINT pk_tags PRIMARY KEY (photo_id) );
