"""Files and folders that are whole or not there, SQLite files, locks, background writing."""
