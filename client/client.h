/* The subcommands of sallyport: one file and one entry function each, listed in main.c's table.
 *
 * Each gets its own part of the command line, argv[0] being the subcommand's name, and returns the exit status. It
 * answers --help itself; --version is answered by main.c. */
#ifndef SP_CLIENT_H
#define SP_CLIENT_H

/* Our own failure, told apart from any status of a supervised command: the convention of env(1), nohup(1) and
 * timeout(1). */
#define SP_EXIT_FAILURE 125

[[nodiscard]] int sp_cmd_run(int argc, char **argv);
[[nodiscard]] int sp_cmd_ps(int argc, char **argv);
[[nodiscard]] int sp_cmd_kill(int argc, char **argv);
[[nodiscard]] int sp_cmd_freeze(int argc, char **argv);
[[nodiscard]] int sp_cmd_thaw(int argc, char **argv);
[[nodiscard]] int sp_cmd_reload(int argc, char **argv);
[[nodiscard]] int sp_cmd_approvals(int argc, char **argv);
[[nodiscard]] int sp_cmd_approve(int argc, char **argv);
[[nodiscard]] int sp_cmd_deny(int argc, char **argv);
[[nodiscard]] int sp_cmd_wait(int argc, char **argv);
[[nodiscard]] int sp_cmd_inspect(int argc, char **argv);
[[nodiscard]] int sp_cmd_top(int argc, char **argv);
[[nodiscard]] int sp_cmd_stats(int argc, char **argv);
[[nodiscard]] int sp_cmd_metrics(int argc, char **argv);
[[nodiscard]] int sp_cmd_log(int argc, char **argv);
[[nodiscard]] int sp_cmd_policy(int argc, char **argv);
[[nodiscard]] int sp_cmd_doctor(int argc, char **argv);

/* "sallyport COMMAND: WHAT WORD; see sallyport COMMAND --help", and the exit status for it. */
int sp_refuse_word(const char *command, const char *what, const char *word);

#endif
