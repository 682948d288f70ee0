/* The policy that is used where none is named: the text of policies/record.yaml, part of the program. */
#ifndef SP_POLICY_BUILTIN_H
#define SP_POLICY_BUILTIN_H

extern const char sp_builtin_policy[];
extern const char sp_builtin_policy_end[];

#endif
