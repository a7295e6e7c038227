"""Tools from outside this project: how they are found, wrapped and tried out."""
