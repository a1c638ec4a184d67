/*-------------------------------------------------------------------------
 *
 * http.c
 *	  The function cancel_jobs_http: the API's endpoint, from the path and the
 *	  query string of a URL to a status code and a body.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "common/hashfn.h"
#include "common/string.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "call.h"
#include "query_string.h"
#include "response.h"

/* Decodes a piece of a URL to a string of JSON, in UTF-8 */
static JsonbValue
decode(const char *text, size_t len, bool plus_is_blank)
{
	JsonbValue	result = {.type = jbvString};
	char	   *decoded = MemoryContextAllocHuge(CurrentMemoryContext, PERCENT_DECODED_MAX(len) + 1);
	size_t		decoded_len = percent_decode(decoded, text, len, plus_is_blank);

	if (decoded_len > MaxAllocSize / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("query string is too long")));
	result.val.string.val = decoded;
	result.val.string.len = decoded_len;
	return result;
}

/*
 * Converts a string to the database's encoding.  If that lacks a character,
 * each byte that is not ASCII becomes a question mark, and the result is
 * false.
 */
static bool
convert_to_server(JsonbValue *given)
{
	int			encoding = GetDatabaseEncoding();
	char	   *text = given->val.string.val;
	int			len = given->val.string.len;
	bool		ascii = true;
	Oid			proc;

	for (int i = 0; ascii && i < len; i++)
		ascii = !IS_HIGHBIT_SET(text[i]);
	if (ascii || encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return true;

	proc = FindDefaultConversionProc(PG_UTF8, encoding);
	if (OidIsValid(proc))
	{
		Size		size = (Size) len * MAX_CONVERSION_GROWTH + 1;
		char	   *converted = MemoryContextAllocHuge(CurrentMemoryContext, size);

		if (pg_do_encoding_conversion_buf(proc, PG_UTF8, encoding,
										  (unsigned char *) text, len,
										  (unsigned char *) converted, Min(size, PG_INT32_MAX),
										  true) == len)
		{
			given->val.string.val = converted;
			given->val.string.len = strlen(converted);
			return true;
		}
	}
	for (int i = 0; i < len; i++)
		if (IS_HIGHBIT_SET(text[i]))
			text[i] = '?';
	return false;
}

/* Converts a text to UTF-8 */
static const char *
text_in_utf8(text *t, size_t *len)
{
	char	   *result = text_to_cstring(t);

	/* ASCII needs no conversion, and not every encoding has one */
	if (GetDatabaseEncoding() != PG_SQL_ASCII && !pg_is_ascii(result))
		result = pg_server_to_any(result, strlen(result), PG_UTF8);
	*len = strlen(result);
	return result;
}

/*
 * Reads the batch from its segment of a URL's path, which may be NULL.  What
 * is wrong with it is added to *problems.
 */
static void
read_path(text *path, pg_uuid_t *batch, Problems *problems)
{
	JsonbValue	given = {.type = jbvNull};
	Problem		problem = {
		.type = path ? PROBLEM_UUID : PROBLEM_NULL,
		.location = LOCATION_OF_BATCH
	};

	if (path)
	{
		size_t		len;
		const char *utf8 = text_in_utf8(path, &len);

		given = decode(utf8, len, false);
	}
	if (!filter_read_uuid(&given, batch))
		problems_add(problems, &problem);
}

/*
 * Adds a key that is no filter, unless it was added before.  Keys with the
 * same hash of 64 bits count as one: the request is bad anyway.
 */
static void
add_unknown_key(GivenFilter *unknown, HTAB **seen, JsonbValue *key)
{
	HASHCTL		ctl = {.keysize = sizeof(uint64), .entrysize = sizeof(uint64), .hcxt = CurrentMemoryContext};
	uint64		hash;
	bool		found;

	(void) convert_to_server(key);
	hash = hash_bytes_extended((const unsigned char *) key->val.string.val, key->val.string.len, 0);
	if (*seen == NULL)
		*seen = hash_create("pasqal_jobs unknown keys", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	(void) hash_search(*seen, &hash, HASH_ENTER, &found);
	if (!found)
		given_add(unknown, key);
	else
		pfree(key->val.string.val);
}

/*
 * Takes the filters of a call from the query string of a URL, which may be
 * NULL.  Values of a repeated list add up, of a repeated scalar the last
 * counts, and an empty id__starts_with, the documented default, is no filter.
 */
static void
read_query_string(text *query_string, GivenFilters *given, Problems *problems)
{
	QueryString query;
	QueryPiece	piece;
	size_t		len;
	HTAB	   *unknown_keys = NULL;
	GivenFilter *prefix = &given->of[FILTER_ID_STARTS_WITH];
	Problem		no_query = {.type = PROBLEM_NULL, .location = LOCATION_OF_FILTERS};

	memset(given, 0, sizeof(*given));
	if (query_string == NULL)
	{
		problems_add(problems, &no_query);
		return;
	}

	query.at = text_in_utf8(query_string, &len);
	query.end = query.at + len;
	while (query_string_next(&query, &piece))
	{
		JsonbValue	name = decode(piece.name, piece.name_len, true);
		JsonbValue	value;
		int			filter = filter_find(name.val.string.val, name.val.string.len);

		CHECK_FOR_INTERRUPTS();
		if (filter == FILTER_COUNT)
		{
			add_unknown_key(&given->unknown, &unknown_keys, &name);
			continue;
		}
		pfree(name.val.string.val);

		value = decode(piece.value, piece.value_len, true);
		if ((filter_table[filter].kind == TAKES_TEXT || filter_table[filter].kind == TAKES_LABEL) &&
			!convert_to_server(&value))
			value.type = jbvBool;	/* no text of this database */
		if (!filter_table[filter].list && given->of[filter].count > 0)
			pfree(given->of[filter].values[--given->of[filter].count].val.string.val);
		given_add(&given->of[filter], &value);
	}

	if (prefix->present && prefix->values[0].val.string.len == 0)
		prefix->present = false;
}

/*
 * A response of 200 is written into the row that goes to the tuplestore, so
 * that tens of megabytes need not be copied there: a minimal tuple as
 * heap_form_minimal_tuple() would make it of (status_code int, body json).
 */
#define ROW_HEAD	MAXALIGN(SizeofMinimalTupleHeader)
#define BODY_OFFSET	(ROW_HEAD + sizeof(int32))

/* Begins such a row, in memory of this context, so that the body can follow */
static void
begin_row(Output *row, MemoryContext context)
{
	output_init(row, context, json_encoder.limit, response_too_large);
	memset(output_reserve(row, BODY_OFFSET), 0, BODY_OFFSET);
	row->len = BODY_OFFSET;
}

/* A slot that hands over its row instead of a copy */
typedef struct RowSlot
{
	TupleTableSlot base;
	MinimalTuple row;
} RowSlot;

static MinimalTuple
hand_over(COPY_MINIMAL_TUPLE_ARGS)
{
	return ((RowSlot *) slot)->row;
}

static const TupleTableSlotOps row_slot_ops = {.copy_minimal_tuple = hand_over};

/* Gives the row to a tuplestore, which takes rows from slots only */
static void
put_row(Tuplestorestate *store, const Output *row)
{
	const int32 status_code = 200;
	RowSlot		slot = {
		.base = {.type = T_TupleTableSlot, .tts_ops = &row_slot_ops},
		.row = (MinimalTuple) row->data
	};

	slot.row->t_len = row->len;
	slot.row->t_infomask2 = 2;	/* attributes */
	slot.row->t_infomask = HEAP_HASVARWIDTH;
	slot.row->t_hoff = ROW_HEAD + MINIMAL_TUPLE_OFFSET;
	memcpy(row->data + ROW_HEAD, &status_code, sizeof(status_code));
	tuplestore_puttupleslot(store, &slot.base);
}

PG_FUNCTION_INFO_V1(cancel_jobs_http);

/*
 * cancel_jobs_http(batch__id text, query_string text,
 *					OUT status_code int, OUT body json)
 *
 * The API's endpoint: 200 and the cancel's response, or 422 and what is wrong
 * with the path and the query string.
 *
 * It returns a set of one row, to use a tuplestore of its own: the executor's
 * would write the row to disk beyond work_mem.
 */
Datum
cancel_jobs_http(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Call		call;
	GivenFilters given;
	Problems	problems;
	pg_uuid_t	batch;
	MemoryContext context;

	/* also checks that the caller takes a tuplestore */
	InitMaterializedSRF(fcinfo, 0);
	tuplestore_end(result->setResult);
	call_begin(&call, "cancel_jobs_http()", false);
	context = result->econtext->ecxt_per_query_memory;
	MemoryContextSwitchTo(context);
	result->setResult = tuplestore_begin_heap((result->allowedModes & SFRM_Materialize_Random) != 0,
											  false, MAX_KILOBYTES);
	MemoryContextSwitchTo(call.context);

	problems_init(&problems, PROBLEMS_NO_LIMIT);
	read_path(PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0), &batch, &problems);
	read_query_string(PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1), &given, &problems);
	call_read_filters(&call, &given, &problems);

	if (problems.count > 0)
	{
		Datum		values[2] = {Int32GetDatum(422), PointerGetDatum(problems_body(&problems))};
		bool		nulls[2] = {false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	else
	{
		Output		row;

		call.request.batch = UUIDPGetDatum(&batch);
		call_open(&call);
		begin_row(&row, context);
		call_notify(&call, response_of_cancel(&call.request, &json_encoder, &row));
		put_row(result->setResult, &row);
	}

	call_end(&call);
	return (Datum) 0;
}
