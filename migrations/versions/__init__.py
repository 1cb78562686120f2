"""One module for each schema, numbered. A released one is never changed."""
