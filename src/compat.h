/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  What differs between the versions of PostgreSQL that we build for.
 *
 * The code is written for the newest version; this header makes up for what
 * an older one lacks.  To be included after postgres.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_COMPAT_H
#define PASQAL_JOBS_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "pasqal_jobs needs PostgreSQL 15 or later"
#endif

/* 16 moved what a varlena is made of out of postgres.h */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 16 checks the privileges on objects of every class by one function */
#if PG_VERSION_NUM < 160000
#define object_aclcheck(classid, objectid, role, mode) \
	pg_namespace_aclcheck(objectid, role, mode)
#endif

/* 18 has this in place of pg_attribute_noreturn(); it precedes extern */
#if PG_VERSION_NUM < 180000
#define pg_noreturn		pg_attribute_noreturn()
#endif

/* 18 lets a caller ask for room in front of a copy of a tuple */
#if PG_VERSION_NUM < 180000
#define COPY_MINIMAL_TUPLE_ARGS	TupleTableSlot *slot
#else
#define COPY_MINIMAL_TUPLE_ARGS	TupleTableSlot *slot, Size extra
#endif

/* 18 lets a module tell its name and version */
#if PG_VERSION_NUM < 180000
#define PG_MODULE_MAGIC_EXT(...)	PG_MODULE_MAGIC
#endif

/* Memory of a check hook's extra is malloc'd up to 15, and GUC's own since 16 */
#if PG_VERSION_NUM < 160000
#define guc_malloc(elevel, size)	malloc(size)
#endif

/* 16 no longer tells a text that was never set from an empty one */
#if PG_VERSION_NUM < 160000
#define option_is_set(name) \
	(GetConfigOption(name, true, false) != NULL)
#else
#include "utils/guc_tables.h"
static inline bool
option_is_set(const char *name)
{
	const struct config_generic *option = find_option(name, false, true, 0);

	return option && option->source != PGC_S_DEFAULT;
}
#endif

/* 17 numbers processes, where there were numbers of backends */
#if PG_VERSION_NUM >= 170000
#include "storage/procarray.h"
#define vxid_process(vxid)	ProcNumberGetProc((vxid).procNumber)
#else
#include "storage/sinvaladt.h"
#define vxid_process(vxid)	BackendIdGetProc((vxid).backendId)
#endif

/* 17 lets a module name its wait events */
#if PG_VERSION_NUM < 170000
#define WaitEventExtensionNew(name)	PG_WAIT_EXTENSION
#endif

/*
 * SEAM("name"): where a call can meet other sessions.  On a server with
 * injection points, which came with 17, test/long/races.sh stops calls there;
 * elsewhere it is nothing.  18 added an argument.
 */
#ifndef USE_INJECTION_POINTS
#define SEAM(name)			((void) 0)
#else
#include "utils/injection_point.h"
#if PG_VERSION_NUM < 180000
#define SEAM(name)			INJECTION_POINT("pasqal-jobs-" name)
#else
#define SEAM(name)			INJECTION_POINT("pasqal-jobs-" name, NULL)
#endif
#endif

#endif							/* PASQAL_JOBS_COMPAT_H */
