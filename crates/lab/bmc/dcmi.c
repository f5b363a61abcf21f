/*
 * DCMI's Get Power Reading for OpenIPMI's simulator, which has none: a module that answers
 * group extension 0xdc from a file with watts.
 *
 * DCMI 1.5, section 6.6.1: completion code, group, present, least, most and mean watts,
 * time stamp, period in milliseconds, state (bit 6: measuring).
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <OpenIPMI/mcserv.h>
#include <OpenIPMI/serv.h>

#define DCMI_GROUP 0xdc
#define GET_POWER_READING 0x02
#define INVALID_COMMAND 0xc1
#define PERIOD_MS 1000
#define READING_BYTES 19

static char path[4096];

static void put(unsigned char *at, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        at[i] = value >> (8 * i);
}

static void answer(lmc_data_t *mc, msg_t *msg, unsigned char *out, unsigned int *length, void *data)
{
    double watts = 0;
    FILE *file = NULL;

    memset(out, 0, READING_BYTES);
    out[1] = DCMI_GROUP;
    *length = 2;
    if (msg->cmd != GET_POWER_READING || !(file = fopen(path, "r"))) {
        out[0] = INVALID_COMMAND;
        return;
    }
    if (fscanf(file, "%lf", &watts) != 1)
        watts = 0;
    fclose(file);
    for (int i = 0; i < 4; i++)
        put(out + 2 + 2 * i, (uint32_t)(watts + 0.5), 2);
    put(out + 14, PERIOD_MS, 4);
    out[18] = 0x40;
    *length = READING_BYTES;
}

int ipmi_sim_module_print_version(sys_data_t *sys, char *options)
{
    return 0;
}

int ipmi_sim_module_init(sys_data_t *sys, const char *watts)
{
    snprintf(path, sizeof path, "%s", watts);
    ipmi_emu_register_group_extension_handler(DCMI_GROUP, answer, NULL);
    return 0;
}

int ipmi_sim_module_post_init(sys_data_t *sys)
{
    return 0;
}
