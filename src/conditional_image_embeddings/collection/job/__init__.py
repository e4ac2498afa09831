"""Images into the database: the resumable job behind `cie embed`."""
