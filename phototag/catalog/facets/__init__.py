"""The facets of the gallery, one class in one file each; `facet_list` lists them."""
