"""Raw click logs: files, archives and pipes to columns, every line accounted for.

In the order of the data::

    inputs.py           which files, in what order
    take_inputs.py      what a user names to inputs that hold rows
    archive_logs.py     the logs in an archive that is named as a whole
    open_input.py       a file, or a member of an archive, as a stream of decompressed bytes
    beginning.py        the first bytes of each file, read once
    layouts.py          the known forms of lines
    headers.py          first lines that name the columns
    detect_layout.py    which layout a file has, and why it has none
    chunks.py           whole lines, in chunks
    crc.py              the checksum of two texts from those of each
    parse.py            lines to columns
    malformed.py        why a line is malformed, and what is kept of it
    separators.py       what a line has between its fields

Below `open_input.py`::

    file_kinds.py       what a file is by its first bytes
    byte_stream.py      bytes from front to back, some put back
    decompress.py       compressed streams
    members.py          members of archives, and how they are named
    zip_archive.py      zip archives
    tar_archive.py      tar archives, compressed or not
"""
