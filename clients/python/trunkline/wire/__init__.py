"""What both ends of a stream share: encoded messages passed through, the writer, the stream, statuses."""
