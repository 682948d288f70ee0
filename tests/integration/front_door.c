/* What is common to all subcommands: the table, help, versions, bad words, output that cannot be written. */
#include "harness.h"

#include <string.h>

static const char *const commands[] = {"run", "log", "policy", "doctor"};

static const char *text(const struct sp_buffer *buffer);
static void assert_one_line(const char *message);
static const char *sallyportd(struct sp_lab *lab);

Test(front_door, help_lists_every_command)
{
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO_USER);
	cleanup_outcome struct sp_outcome option = sp_client(&lab, sp_argv("--help"));
	cleanup_outcome struct sp_outcome word = sp_client(&lab, sp_argv("help"));

	sp_assert_ended(&option, 0, "--help");
	sp_assert_ended(&word, 0, "help");
	cr_assert_str_eq(text(&option.out), text(&word.out));
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		cr_assert_not_null(strstr(text(&option.out), sp_text(&lab, "\n  %s ", commands[i])), "%s", commands[i]);
}

Test(front_door, every_command_has_help)
{
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO_USER);

	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
		cleanup_outcome struct sp_outcome option = sp_client(&lab, sp_argv(commands[i], "--help"));
		cleanup_outcome struct sp_outcome word = sp_client(&lab, sp_argv("help", commands[i]));

		sp_assert_ended(&option, 0, commands[i]);
		sp_assert_ended(&word, 0, commands[i]);
		cr_assert_not_null(strstr(text(&option.out), commands[i]), "%s", text(&option.out));
		cr_assert_not_null(strstr(text(&option.out), "sage:"), "%s", text(&option.out));
		cr_assert_str_eq(text(&option.out), text(&word.out));
	}
}

Test(front_door, one_version)
{
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO_USER);
	cleanup_outcome struct sp_outcome client = sp_client(&lab, sp_argv("--version"));
	cleanup_outcome struct sp_outcome daemon = sp_run(&lab, NULL, sp_argv(sallyportd(&lab), "--version"));

	sp_assert_ended(&client, 0, "--version");
	sp_assert_ended(&daemon, 0, "sallyportd --version");
	cr_assert_eq(strncmp(text(&client.out), "sallyport ", 10), 0);
	cr_assert_str_eq(strchr(text(&client.out), ' '), strchr(text(&daemon.out), ' '));
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
		cleanup_outcome struct sp_outcome command = sp_client(&lab, sp_argv(commands[i], "--version"));

		sp_assert_ended(&command, 0, commands[i]);
		cr_assert_str_eq(text(&command.out), text(&client.out));
	}
}

Test(front_door, refuses_unknown_words)
{
	static const char *const words[] = {"ruin", "", "--nope", "-x", "\033[31m\n"};
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO_USER);

	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		cleanup_outcome struct sp_outcome command = sp_client(&lab, sp_argv(words[i]));
		cleanup_outcome struct sp_outcome help = sp_client(&lab, sp_argv("help", words[i]));

		sp_assert_ended(&command, 125, words[i]);
		sp_assert_ended(&help, 125, words[i]);
		cr_assert_str_empty(text(&command.out));
		assert_one_line(text(&command.err));
		assert_one_line(text(&help.err));
	}
}

Test(front_door, no_word_is_a_mistake)
{
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO_USER);
	cleanup_outcome struct sp_outcome outcome = sp_run(&lab, NULL, sp_argv(sp_sallyport(&lab)));

	sp_assert_ended(&outcome, 125, "no subcommand");
	cr_assert_str_empty(text(&outcome.out));
	cr_assert_not_null(strstr(text(&outcome.err), "Usage: sallyport"));
}

Test(front_door, notices_a_full_disk)
{
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO_USER);
	cleanup_outcome struct sp_outcome outcome =
		sp_run(&lab, NULL, sp_argv("sh", "-c", "exec \"$0\" --help >/dev/full", sp_sallyport(&lab)));

	sp_assert_ended(&outcome, 125, "--help to a full disk");
	assert_one_line(text(&outcome.err));
}

/* Else the database would be opened as descriptor 1 or 2 and be written over; and the command would find it open. */
Test(front_door, closed_descriptors_stay_closed_and_unused)
{
	static const char close_all[] = "exec \"$@\" <&- >&- 2>&-";
	static const char see[] = "for fd in 0 1 2; do [ ! -e /proc/self/fd/$fd ] || exit 1; done";
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO_USER);
	cleanup_outcome struct sp_outcome native =
		sp_run(&lab, NULL, sp_argv("sh", "-c", close_all, "sh", "sh", "-c", see));
	cleanup_outcome struct sp_outcome supervised =
		sp_run(&lab, NULL,
		       sp_argv("sh", "-c", close_all, "sh", sp_sallyport(&lab), "run", "--audit", lab.audit, "--", "sh",
			       "-c", see));

	sp_assert_ended(&native, 0, "descriptors closed, natively");
	sp_assert_ended(&supervised, 0, "descriptors closed, supervised");
	cr_assert_gt(sp_sql_number(&lab, "SELECT count(*) FROM execs"), 0);
}

Test(front_door, daemon_refuses_what_it_does_not_know)
{
	static const char *const words[] = {"--foreground", "start", "--help --version"};
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO_USER);

	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		cleanup_outcome struct sp_outcome outcome = sp_run(&lab, NULL, sp_argv(sallyportd(&lab), words[i]));

		sp_assert_ended(&outcome, 125, words[i]);
		assert_one_line(text(&outcome.err));
		cr_assert_not_null(strstr(text(&outcome.err), "sallyportd --help"));
	}
}

static void assert_one_line(const char *message)
{
	cr_assert_not_null(strchr(message, '\n'), "no message");
	cr_assert_eq(strchr(message, '\n') + 1, message + strlen(message), "not one line: %s", message);
	cr_assert_null(strchr(message, '\033'), "an escape reaches the terminal");
}

/* It lies beside sallyport; where that is a copy for the lab's user, the original is. */
static const char *sallyportd(struct sp_lab *lab)
{
	return sp_program(lab, "../../sallyportd");
}

static const char *text(const struct sp_buffer *buffer)
{
	return buffer->data == NULL ? "" : buffer->data;
}
