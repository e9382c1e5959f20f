"""The ground floor: errors, options, schema, amounts, files, progress, memory, ranks."""
