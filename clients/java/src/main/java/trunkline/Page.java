package trunkline;

import java.util.List;

/**
 * One page of records.
 *
 * @param records in order of their ids
 * @param next the token of the next page; empty on the last one
 */
public record Page(List<trunkline.v1.Record> records, String next) {}
