/*-------------------------------------------------------------------------
 *
 * ledger.h
 *	  The jobs that a call answers for, and what became of each.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_LEDGER_H
#define PASQAL_JOBS_LEDGER_H

#include "utils/uuid.h"

#include "filters.h"

typedef struct Ledger Ledger;

extern Ledger *ledger_create(MemoryContext context);
extern void ledger_enter(Ledger *ledger, const pg_uuid_t *id, const char *outcome);
extern void ledger_answer(Ledger *ledger, const pg_uuid_t *id);
extern void ledger_settle(Ledger *ledger, const pg_uuid_t *id, const char *outcome);
extern void ledger_rewind(Ledger *ledger);
extern bool ledger_hold(Ledger *ledger, const pg_uuid_t *id);
extern bool ledger_is_held(Ledger *ledger, const pg_uuid_t *id);
extern size_t ledger_count(const Ledger *ledger, bool held);
extern FilterValues ledger_ids(const Ledger *ledger, bool held);
extern void ledger_report(Ledger *ledger, const char *outcome_of_open,
						  void (*report) (const pg_uuid_t *id, const char *outcome, void *arg),
						  void *arg);

#endif							/* PASQAL_JOBS_LEDGER_H */
