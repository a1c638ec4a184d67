/*-------------------------------------------------------------------------
 *
 * call.h
 *	  The frame of a call: its memory, its request, its relation, SPI.
 *
 *	call_begin
 *	call_read_arguments, or call_read_filters for filters from elsewhere
 *	call_open			from here on the relation is open and SPI connected
 *	call_end
 *
 * After an error the end of the transaction or subtransaction cleans up.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_CALL_H
#define PASQAL_JOBS_CALL_H

#include "fmgr.h"

#include "filters.h"
#include "request.h"

typedef struct Call
{
	MemoryContext oldcontext;	/* current as the call began */
	MemoryContext context;		/* for what lasts as long as the call */
	JobsRelation relation;
	Request		request;
	char	   *notify_channel; /* NULL: none */
	char	   *running_status; /* as the setting has it */
	const char *function;		/* that was called */
	LOCKMODE	lockmode;		/* of the relation */
	int			spi_options;	/* for SPI_connect_ext */
	bool		connected;		/* to SPI */
} Call;

extern void call_begin(Call *call, const char *function, bool read_only);
extern void call_read_filters(Call *call, const GivenFilters *given, Problems *problems);
extern void call_read_arguments(Call *call, FunctionCallInfo fcinfo);
extern void call_open(Call *call);
extern void call_check_locked_jobs(const Call *call);
extern void call_notify(const Call *call, uint64 canceled);
extern void call_end(Call *call);

#endif							/* PASQAL_JOBS_CALL_H */
