"""Files of rows, read a batch at a time: Parquet, Arrow IPC, JSON Lines, CSV."""
