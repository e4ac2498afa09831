"""The database on disk: tables of LanceDB by setting, and what is kept of each image beside them."""
