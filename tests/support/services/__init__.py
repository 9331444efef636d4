"""Services that a client may be tested with: both modes of the test kit, and a real worker. And
both clients behind one set of names."""
