"""The users of `configs/users.acl`: a Redis that has them, and the table of what each may do."""
