/* The subcommands of `sallyport policy` that have a file of their own. Like those of client.h: argv[0] is the name. */
#ifndef SP_CLIENT_POLICY_COMMANDS_H
#define SP_CLIENT_POLICY_COMMANDS_H

[[nodiscard]] int policy_show(int argc, char **argv);
[[nodiscard]] int policy_learn(int argc, char **argv);
[[nodiscard]] int policy_stats(int argc, char **argv);
[[nodiscard]] int policy_replay(int argc, char **argv);

#endif
