"""A film scanner that is not there: dirt on its glass, film in its holder, served over the SANE network protocol."""
