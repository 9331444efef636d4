"""A PostgreSQL server for tests. Test code only."""
