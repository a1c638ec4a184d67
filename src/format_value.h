/*-------------------------------------------------------------------------
 *
 * format_value.h
 *	  Uuids and date-times as the text of a response.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_FORMAT_VALUE_H
#define PASQAL_JOBS_FORMAT_VALUE_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

#define FORMATTED_UUID		36	/* bytes, always */
#define FORMATTED_TIMESTAMP	48	/* bytes, at most */

extern void format_uuid(char *result, const pg_uuid_t *uuid);
extern int	format_timestamp(char *result, TimestampTz timestamp);

#endif							/* PASQAL_JOBS_FORMAT_VALUE_H */
