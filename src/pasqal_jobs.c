/*-------------------------------------------------------------------------
 *
 * pasqal_jobs.c
 *	  The module, and the function cancel_jobs.
 *
 * A call goes this way through the files: its frame (call.c), the filters
 * (filters.c with parse_value.c and problems.c), the relation
 * (jobs_relation.c), the cancel (cancel.c with batch_lock.c and ledger.c) and
 * its statements (statement.c), the response (response.c and encoder.c).
 * The other functions are in http.c, rows.c and chunks.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"

#include "call.h"
#include "compat.h"
#include "response.h"
#include "settings.h"

PG_MODULE_MAGIC_EXT(.name = "pasqal_jobs");

void		_PG_init(void);

/*
 * _PG_init
 *
 * Runs once, as the library is loaded.  Raises 25000 during a parallel
 * operation: what was set before could not be taken over there, and defaults
 * would take its place.
 */
void
_PG_init(void)
{
	if (IsInParallelMode())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("cannot load pasqal_jobs during a parallel operation"),
				 errhint("Label functions that call it PARALLEL UNSAFE, as its own are.")));
	settings_define();
}

PG_FUNCTION_INFO_V1(cancel_jobs);

/*
 * cancel_jobs(batch uuid, filters jsonb) returns jsonb
 *
 * Cancels the jobs of the batch that match, and answers in the API's shape.
 */
Datum
cancel_jobs(PG_FUNCTION_ARGS)
{
	Call		call;
	Output		result;

	call_begin(&call, "cancel_jobs()", false);
	call_read_arguments(&call, fcinfo);
	call_open(&call);

	output_init(&result, call.oldcontext, jsonb_encoder.limit, response_too_large);
	call_notify(&call, response_of_cancel(&call.request, &jsonb_encoder, &result));

	call_end(&call);
	PG_RETURN_POINTER(result.data);
}
