"""The facets of the gallery, one class in one file each; `registry` lists them."""
