/*-------------------------------------------------------------------------
 *
 * response.h
 *	  The answer of a cancel in the API's shape.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_RESPONSE_H
#define PASQAL_JOBS_RESPONSE_H

#include "cancel.h"
#include "encoder.h"

extern uint64 response_of_cancel(const Request *request, const Encoder *encoder,
								 Output *out);

#endif							/* PASQAL_JOBS_RESPONSE_H */
