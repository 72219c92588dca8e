"""Record batches of `schema.ROW_SCHEMA` in, the bytes of one archive out."""
