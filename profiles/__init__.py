"""One YAML file per film stock; ``dustwatch.daemon.film`` reads them."""
