"""What every other part stands on: errors, schema, amounts, files, progress, memory, ranks."""
