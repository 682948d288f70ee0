/* On a terminal: the command is in the foreground as if it had been started directly, so that Ctrl-C, Ctrl-Z, the size of
 * the window and hanging up all reach it. */
#include "pty.h"

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

/* A shell as one sits before, without the noise. */
static struct sp_child start_shell(struct sp_lab *lab, bool supervised)
{
	const char *const *shell = sp_argv("bash", "--norc", "--noprofile", "--noediting", "-i");

	return sp_start_on_terminal(lab, supervised ? sp_supervised_argv(lab, shell) : shell);
}

/* `sallyport run [...] -- ` as one types it. */
static const char *typed_prefix(struct sp_lab *lab)
{
	return sp_text(lab, "%s run --audit %s -- ", sp_sallyport(lab), lab->audit);
}

sp_lab_test(terminal, ctrl_c_ends_the_command)
{
	struct sp_child child =
		sp_start_on_terminal(lab, sp_supervised_argv(lab, sp_argv("sh", "-c", "echo rea''dy; exec cat")));

	sp_expect(&child, "ready");
	sp_type(&child, "\003");
	sp_expect_end(&child, 128 + SIGINT);
}

sp_lab_test(terminal, ctrl_c_is_the_commands_to_handle)
{
	const char *script = "trap 'echo han''dled; exit 5' INT; echo rea''dy; while :; do read x; done";
	struct sp_child child = sp_start_on_terminal(lab, sp_supervised_argv(lab, sp_argv("sh", "-c", script)));

	sp_expect(&child, "ready");
	sp_type(&child, "\003");
	sp_expect(&child, "handled");
	sp_expect_end(&child, 5);
}

sp_lab_test(terminal, ctrl_backslash_ends_the_command)
{
	struct sp_child child = sp_start_on_terminal(
		lab, sp_supervised_argv(lab, sp_argv("sh", "-c", "ulimit -c 0; echo rea''dy; exec cat")));

	sp_expect(&child, "ready");
	sp_type(&child, "\034");
	sp_expect_end(&child, 128 + SIGQUIT);
}

sp_lab_test(terminal, window_size)
{
	struct winsize larger = {.ws_row = 40, .ws_col = 132};
	const char *script = "trap 'stty size; exit 0' WINCH; stty size; echo rea''dy; while :; do read x; done";
	struct sp_child child = sp_start_on_terminal(lab, sp_supervised_argv(lab, sp_argv("sh", "-c", script)));

	sp_expect(&child, "24 80");
	sp_expect(&child, "ready");
	cr_assert_eq(ioctl(child.input, TIOCSWINSZ, &larger), 0);
	sp_expect(&child, "40 132");
	sp_expect_end(&child, 0);
}

sp_lab_test(terminal, same_session_group_and_foreground)
{
	const char *script = "read -r p c s ppid pgrp sid tty tpgid rest </proc/$$/stat; "
			     "read -r p c s ppid opgrp osid rest </proc/$PPID/stat; "
			     "[ $pgrp = $tpgid ] && [ $sid = $osid ] && [ $pgrp = $opgrp ] && test -t 0 && echo sa''me";
	struct sp_child child = sp_start_on_terminal(lab, sp_supervised_argv(lab, sp_argv("sh", "-c", script)));

	sp_expect(&child, "same");
	sp_expect_end(&child, 0);
}

sp_lab_test(terminal, ctrl_z_stops_and_fg_continues)
{
	struct sp_child child = start_shell(lab, false);

	sp_type(&child, sp_text(lab, "%s sh -c 'echo rea\"\"dy; read x; echo \"called\" $x'\n", typed_prefix(lab)));
	sp_expect(&child, "ready");
	sp_type(&child, "\032");
	sp_expect(&child, "Stopped");
	sp_type(&child, "echo \"stat\"us $?\n");
	sp_expect(&child, "status 148");
	sp_type(&child, "echo in-betw''een\n");
	sp_expect(&child, "in-between");
	sp_type(&child, "fg >/dev/null; echo \"over\" $?\n");
	sp_type(&child, "home\n");
	sp_expect(&child, "called home");
	sp_expect(&child, "over 0");
	sp_type(&child, "exit 3\n");
	sp_expect_end(&child, 3);
}

/* The supervisor itself is in the background: so is the command. */
sp_lab_test(terminal, background_job)
{
	struct sp_child child = start_shell(lab, false);

	sp_type(&child, sp_text(lab, "%s sh -c 'read x; echo \"got\" $x' &\n", typed_prefix(lab)));
	sp_type(&child, "until jobs | grep -q Stopped; do :; done; echo \"tty\"in\n");
	sp_expect(&child, "ttyin");
	sp_type(&child, "fg\n");
	sp_type(&child, "a-line\n");
	sp_expect(&child, "got a-line");
	sp_type(&child, "exit 0\n");
	sp_expect_end(&child, 0);
}

/* A whole interactive shell under supervision keeps its jobs as ever. */
sp_lab_test(terminal, supervised_shell_has_job_control)
{
	struct sp_child child = start_shell(lab, true);

	sp_type(&child, "sh -c 'echo rea\"\"dy; read x; echo \"called\" $x'\n");
	sp_expect(&child, "ready");
	sp_type(&child, "\032");
	sp_expect(&child, "Stopped");
	sp_type(&child, "bg >/dev/null; until jobs | grep -q Stopped; do :; done; echo aga''in\n");
	sp_expect(&child, "again");
	sp_type(&child, "fg >/dev/null; echo \"over\" $?\n");
	sp_type(&child, "home\n");
	sp_expect(&child, "called home");
	sp_expect(&child, "over 0");
	sp_type(&child, "exit 4\n");
	sp_expect_end(&child, 4);
}

sp_lab_test(terminal, hanging_up_ends_everything)
{
	struct sp_child child =
		sp_start_on_terminal(lab, sp_supervised_argv(lab, sp_argv("sh", "-c", "cat & echo rea''dy; exec cat")));

	sp_expect(&child, "ready");
	close(sp_steal_fd(&child.input));
	close(sp_steal_fd(&child.out));
	sp_expect_end(&child, 128 + SIGHUP);
}

/* The other screen, again and again, and the terminal as it was when it ends: by q, or by Ctrl-C. */
sp_lab_test(terminal, top)
{
	for (int i = 0; i < 2; i++) {
		struct sp_child child =
			start_on(lab, sp_argv(sp_sallyport(lab), "top", "--interval", "0.05"), "TERM=xterm");

		sp_expect(&child, "\033[?1049h");
		sp_expect(&child, "COMMAND");
		sp_expect(&child, "\033[J\033[H");
		sp_type(&child, i == 0 ? "q" : "\003");
		sp_expect(&child, "\033[?1049l");
		sp_expect_end(&child, 0);
	}
}
