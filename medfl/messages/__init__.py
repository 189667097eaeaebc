"""The wire: records, models, codecs, exchanges and replies, and the checks of what arrives."""
