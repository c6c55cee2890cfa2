// Shared by the parts of the CUDA device that computes nothing, see README.md.
#ifndef NULL_H
#define NULL_H
#include <stddef.h>

// Count the launch of a kernel, a copy or a fill.
void null_launch(void);

#endif
