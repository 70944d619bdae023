"""The verdict as JSON, page, terminal text and a folder that can be proved again."""
