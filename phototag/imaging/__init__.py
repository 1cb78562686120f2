"""Picture files to pixels."""

from phototag.imaging.decode import decode_file, decode_photo
from phototag.imaging.formats import SUFFIXES, is_picture
from phototag.imaging.preprocessing import Preprocessing

__all__ = ["SUFFIXES", "Preprocessing", "decode_file", "decode_photo", "is_picture"]
