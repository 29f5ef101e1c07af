"""The methods of the catalogue by family, a file each."""
