"""``python -m dustwatch.daemon`` is ``dustwatch``."""

from .cli import main

if __name__ == "__main__":
    main()
