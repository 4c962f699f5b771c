/* Makes a decoder that a packet can kill or hang, as a fault in it would. Loaded by LD_PRELOAD: whatever has
   KILL_BYTES in a packet aborts libavcodec, whatever has HANG_BYTES keeps it busy without end, and whatever has
   SLEEP_BYTES waits for what never comes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The beginning of libavcodec's AVPacket, which does not change. */
struct packet {
	void *buffer;
	int64_t pts, dts;
	uint8_t *data;
	int size;
};

/* Python loads libavcodec for its extensions alone, where RTLD_NEXT does not look. */
static int find(struct dl_phdr_info *library, size_t size, void *found)
{
	if (!strstr(library->dlpi_name, "libavcodec"))
		return 0;
	*(void **)found = dlsym(dlopen(library->dlpi_name, RTLD_NOLOAD | RTLD_LAZY), "avcodec_send_packet");
	return 1;
}

int avcodec_send_packet(void *context, const struct packet *packet)
{
	static int (*next)(void *, const struct packet *);
	static sem_t never;
	volatile int is_hanging;

	if (packet && packet->data && packet->size > 0) {
		if (memmem(packet->data, packet->size, KILL_BYTES, sizeof KILL_BYTES - 1))
			abort();
		is_hanging = !!memmem(packet->data, packet->size, HANG_BYTES, sizeof HANG_BYTES - 1);
		while (is_hanging)
			;
		if (memmem(packet->data, packet->size, SLEEP_BYTES, sizeof SLEEP_BYTES - 1)) {
			sem_init(&never, 0, 0);
			for (;;)
				sem_wait(&never);
		}
	}
	if (!next)
		dl_iterate_phdr(find, &next);
	return next(context, packet);
}
