"""Where the rows of a PointSet are: files that are listed, and fetched to a local folder."""
