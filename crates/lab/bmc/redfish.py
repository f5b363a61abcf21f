"""Redfish services of the lab's BMCs: sushy-tools, one process for each BMC.

Its machines are wired to the lab's power switch, and its chassis tell watts, which it has
not by itself: by EnvironmentMetrics or by the older Power resource.

usage: redfish.py CONFIG.json
"""

import json
import os
import ssl
import subprocess
import sys
import threading
import time

import flask
from sushy_tools import error
from sushy_tools.emulator.main import app
from sushy_tools.emulator.resources.systems.fakedriver import FakeDriver

# The switch ends at once; a machine that is very busy may take some seconds.
SWITCH_S = 20


def switched(command, *words):
    done = subprocess.run(
        command + list(words), capture_output=True, text=True, timeout=SWITCH_S, check=False)
    if done.returncode != 0:
        raise error.FishyError(done.stderr.strip())
    return done.stdout


def wire(command):
    """Puts the lab's switch in the place of the driver's pretended one."""

    def get_power_state(self, identity):
        self._get(identity)
        return 'On' if 'power:1' in switched(command, 'get', 'power') else 'Off'

    def set_power_state(self, identity, state):
        self._get(identity)
        if state in ('On', 'ForceOn'):
            switched(command, 'set', 'power', '1')
        elif state == 'ForceOff':
            switched(command, 'set', 'power', '0')
        elif state == 'ForceRestart':
            switched(command, 'set', 'reset', '1')
        else:
            raise error.NotSupportedError(f'{state}: this machine has no such switch')

    FakeDriver.get_power_state = get_power_state
    FakeDriver.set_power_state = set_power_state


def measure(bmc):
    """Lets the chassis tell its watts."""
    chassis_resource = app.view_functions['chassis_resource']

    def watts():
        with open(bmc['watts'], encoding='ascii') as file:
            return float(file.read())

    def path(identity):
        return f'/redfish/v1/Chassis/{identity}/{bmc["measures"]}'

    def with_power(identity):
        answer = app.make_response(chassis_resource(identity=identity))
        if answer.status_code == 200 and answer.is_json:
            chassis = json.loads(answer.get_data())
            chassis[bmc['measures']] = {'@odata.id': path(identity)}
            answer.set_data(json.dumps(chassis))
        return answer

    def power(identity):
        base = {'@odata.id': path(identity), 'Id': bmc['measures'], 'Name': bmc['measures']}
        if bmc['measures'] == 'EnvironmentMetrics':
            return flask.jsonify({**base, 'PowerWatts': {'Reading': watts()}})
        control = {'MemberId': '0', 'PowerConsumedWatts': watts()}
        return flask.jsonify({**base, 'PowerControl': [control]})

    app.view_functions['chassis_resource'] = with_power
    app.add_url_rule(
        f'/redfish/v1/Chassis/<identity>/{bmc["measures"]}', 'chassis_power', power)


def serve(bmc, parent):
    def end_with_parent():
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    nic = {'mac': bmc['mac'], 'ip': bmc['address']}
    app.configure(extra_config={
        'SUSHY_EMULATOR_FAKE_DRIVER': True,
        'SUSHY_EMULATOR_STATE_DIR': bmc['state'],
        'SUSHY_EMULATOR_AUTH_FILE': bmc['users'],
        'SUSHY_EMULATOR_FAKE_SYSTEMS': [
            {'uuid': bmc['uuid'], 'name': bmc['name'], 'power_state': 'Off', 'nics': [nic]}],
        'SUSHY_EMULATOR_CHASSIS': [
            {'Id': bmc['name'], 'Name': bmc['name'], 'UUID': bmc['chassis']}],
    })
    wire(bmc['switch'])
    measure(bmc)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bmc['certificate'], bmc['key'])
    app.run(host=bmc['address'], port=bmc['port'], ssl_context=context)


def main():
    with open(sys.argv[1], encoding='utf-8') as file:
        bmcs = json.load(file)
    parent = os.getpid()
    for bmc in bmcs:
        if os.fork() == 0:
            try:
                serve(bmc, parent)
            finally:
                os._exit(1)
    # One that ends takes all with it: they are started again together.
    os.wait()
    sys.exit(1)


if __name__ == '__main__':
    main()
