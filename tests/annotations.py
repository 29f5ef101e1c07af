"""How annotations are checked while tests run: shapes by jaxtyping, all else by beartype."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int may stand for a float
