"""Picture files to pixels. Importing this imports no imaging library: modules are imported by their names."""
