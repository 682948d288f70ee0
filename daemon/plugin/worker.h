/* The side of a plugin on which its code runs: takes messages from a socket, calls the plugin's functions, sends back what it
 * says. In a process of its own (process.h), or in a thread. */
#ifndef SP_PLUGIN_WORKER_H
#define SP_PLUGIN_WORKER_H

/* Serves until the other end of the socket is closed. file: the plugin, opened; stays open, since the loader knows the plugin
 * by the number of this fd. Closes socket. */
void sp_worker_serve(int socket, int file);

#endif
