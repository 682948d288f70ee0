/* On a terminal: the command is in the foreground as if it had been started directly, so that Ctrl-C, Ctrl-Z, the size of
 * the window and hanging up all reach it. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>

static struct sp_child start_on(struct sp_lab *lab, const char *const argv[], const char *term)
{
	struct winsize size = {.ws_row = 24, .ws_col = 80};
	struct sp_child child = {.err = -1, .deadline = sp_deadline(30), .linger = 5};

	child.pid = forkpty(&child.out, NULL, NULL, &size);
	cr_assert_geq(child.pid, 0, "forkpty: %s", strerror(errno));
	if (child.pid == 0)
		sp_exec_in_lab(lab, argv, term);
	fcntl(child.out, F_SETFD, FD_CLOEXEC);
	child.input = fcntl(child.out, F_DUPFD_CLOEXEC, 0);
	fcntl(child.out, F_SETFL, O_NONBLOCK);
	return child;
}

static struct sp_child start_on_terminal(struct sp_lab *lab, const char *const argv[])
{
	return start_on(lab, argv, "TERM=dumb");
}

/* A shell as one sits before, without the noise. */
static struct sp_child start_shell(struct sp_lab *lab, bool supervised)
{
	const char *const *shell = sp_argv("bash", "--norc", "--noprofile", "--noediting", "-i");

	return start_on_terminal(lab, supervised ? sp_supervised_argv(lab, shell) : shell);
}

static void type(struct sp_child *child, const char *text)
{
	cr_assert_eq(write(child->input, text, strlen(text)), (ssize_t)strlen(text), "%s", strerror(errno));
}

/* What is typed is shown too: commands here are spelt so that their text differs from what they print. */
static void expect(struct sp_child *child, const char *text)
{
	cr_assert(sp_await_text(child, text), "no \"%s\" in:\n%s", text,
		  child->out_buffer.data != NULL ? child->out_buffer.data : "");
}

static void expect_end(struct sp_child *child, int status)
{
	cleanup_outcome struct sp_outcome outcome = {0};

	outcome = sp_finish(child);
	sp_assert_ended(&outcome, status, "on the terminal");
}

/* `sallyport run [...] -- ` as one types it. */
static const char *typed_prefix(struct sp_lab *lab)
{
	return sp_text(lab, "%s run --audit %s -- ", sp_sallyport(lab), lab->audit);
}

sp_lab_test(terminal, ctrl_c_ends_the_command)
{
	struct sp_child child =
		start_on_terminal(lab, sp_supervised_argv(lab, sp_argv("sh", "-c", "echo rea''dy; exec cat")));

	expect(&child, "ready");
	type(&child, "\003");
	expect_end(&child, 128 + SIGINT);
}

sp_lab_test(terminal, ctrl_c_is_the_commands_to_handle)
{
	const char *script = "trap 'echo han''dled; exit 5' INT; echo rea''dy; while :; do read x; done";
	struct sp_child child = start_on_terminal(lab, sp_supervised_argv(lab, sp_argv("sh", "-c", script)));

	expect(&child, "ready");
	type(&child, "\003");
	expect(&child, "handled");
	expect_end(&child, 5);
}

sp_lab_test(terminal, ctrl_backslash_ends_the_command)
{
	struct sp_child child = start_on_terminal(
		lab, sp_supervised_argv(lab, sp_argv("sh", "-c", "ulimit -c 0; echo rea''dy; exec cat")));

	expect(&child, "ready");
	type(&child, "\034");
	expect_end(&child, 128 + SIGQUIT);
}

sp_lab_test(terminal, window_size)
{
	struct winsize larger = {.ws_row = 40, .ws_col = 132};
	const char *script = "trap 'stty size; exit 0' WINCH; stty size; echo rea''dy; while :; do read x; done";
	struct sp_child child = start_on_terminal(lab, sp_supervised_argv(lab, sp_argv("sh", "-c", script)));

	expect(&child, "24 80");
	expect(&child, "ready");
	cr_assert_eq(ioctl(child.input, TIOCSWINSZ, &larger), 0);
	expect(&child, "40 132");
	expect_end(&child, 0);
}

sp_lab_test(terminal, same_session_group_and_foreground)
{
	const char *script = "read -r p c s ppid pgrp sid tty tpgid rest </proc/$$/stat; "
			     "read -r p c s ppid opgrp osid rest </proc/$PPID/stat; "
			     "[ $pgrp = $tpgid ] && [ $sid = $osid ] && [ $pgrp = $opgrp ] && test -t 0 && echo sa''me";
	struct sp_child child = start_on_terminal(lab, sp_supervised_argv(lab, sp_argv("sh", "-c", script)));

	expect(&child, "same");
	expect_end(&child, 0);
}

sp_lab_test(terminal, ctrl_z_stops_and_fg_continues)
{
	struct sp_child child = start_shell(lab, false);

	type(&child, sp_text(lab, "%s sh -c 'echo rea\"\"dy; read x; echo \"called\" $x'\n", typed_prefix(lab)));
	expect(&child, "ready");
	type(&child, "\032");
	expect(&child, "Stopped");
	type(&child, "echo \"stat\"us $?\n");
	expect(&child, "status 148");
	type(&child, "echo in-betw''een\n");
	expect(&child, "in-between");
	type(&child, "fg >/dev/null; echo \"over\" $?\n");
	type(&child, "home\n");
	expect(&child, "called home");
	expect(&child, "over 0");
	type(&child, "exit 3\n");
	expect_end(&child, 3);
}

/* The supervisor itself is in the background: so is the command. */
sp_lab_test(terminal, background_job)
{
	struct sp_child child = start_shell(lab, false);

	type(&child, sp_text(lab, "%s sh -c 'read x; echo \"got\" $x' &\n", typed_prefix(lab)));
	type(&child, "until jobs | grep -q Stopped; do :; done; echo \"tty\"in\n");
	expect(&child, "ttyin");
	type(&child, "fg\n");
	type(&child, "a-line\n");
	expect(&child, "got a-line");
	type(&child, "exit 0\n");
	expect_end(&child, 0);
}

/* A whole interactive shell under supervision keeps its jobs as ever. */
sp_lab_test(terminal, supervised_shell_has_job_control)
{
	struct sp_child child = start_shell(lab, true);

	type(&child, "sh -c 'echo rea\"\"dy; read x; echo \"called\" $x'\n");
	expect(&child, "ready");
	type(&child, "\032");
	expect(&child, "Stopped");
	type(&child, "bg >/dev/null; until jobs | grep -q Stopped; do :; done; echo aga''in\n");
	expect(&child, "again");
	type(&child, "fg >/dev/null; echo \"over\" $?\n");
	type(&child, "home\n");
	expect(&child, "called home");
	expect(&child, "over 0");
	type(&child, "exit 4\n");
	expect_end(&child, 4);
}

sp_lab_test(terminal, hanging_up_ends_everything)
{
	struct sp_child child =
		start_on_terminal(lab, sp_supervised_argv(lab, sp_argv("sh", "-c", "cat & echo rea''dy; exec cat")));

	expect(&child, "ready");
	close(sp_steal_fd(&child.input));
	close(sp_steal_fd(&child.out));
	expect_end(&child, 128 + SIGHUP);
}

/* The other screen, again and again, and the terminal as it was when it ends: by q, or by Ctrl-C. */
sp_lab_test(terminal, top)
{
	for (int i = 0; i < 2; i++) {
		struct sp_child child =
			start_on(lab, sp_argv(sp_sallyport(lab), "top", "--interval", "0.05"), "TERM=xterm");

		expect(&child, "\033[?1049h");
		expect(&child, "COMMAND");
		expect(&child, "\033[J\033[H");
		type(&child, i == 0 ? "q" : "\003");
		expect(&child, "\033[?1049l");
		expect_end(&child, 0);
	}
}
