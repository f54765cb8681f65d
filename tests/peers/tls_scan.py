"""The TLS listener as scanners see it: sslscan for what is offered, testssl.sh for what is known to be dangerous."""

import json
import re
import subprocess
import xml.etree.ElementTree as ElementTree

from sidecar import Application, Sidecar, check, skip_without

# What testssl.sh finds grave here, and why it is none of the listener's: the certificate is the test's own.
EXPECTED = {
    "cert_chain_of_trust": "a private authority, which no browser knows",
    "cert_revocation": "a private authority that publishes no revocations",
    "cert_expirationStatus": "the test's certificate is good for two days",
    "cert_notAfter": "the same",
    "sessionresumption_ticket": "its client may end before a ticket of TLS 1.3 has come; resumption is tried below",
    "engine_problem": "about the scanner's own openssl, which has no GOST",
}
HARMLESS = {"OK", "INFO", "LOW", "DEBUG"}
# Authenticated encryption with ephemeral keys (RFC 9325, section 4.2); those of TLS 1.3 all are.
FORWARD_SECRET = re.compile(r"TLS_(AES|CHACHA20)_\w+|ECDHE-(ECDSA|RSA)-(AES(128|256)-GCM-SHA(256|384)|CHACHA20-POLY1305)")
# Protocols, ciphers, forward secrecy, the server's defaults (tickets, extensions), headers, known vulnerabilities.
CHECKS = ["-p", "-s", "-f", "-S", "-h", "-U"]


def offered(address):
    command = ["sslscan", "--no-colour", "--xml=-", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    scan = ElementTree.fromstring(done.stdout).find("ssltest")
    check(scan is not None, "sslscan reaches the listener", done.stdout + done.stderr, quiet=True)
    enabled = {f"{one.get('type')} {one.get('version')}" for one in scan.iter("protocol") if one.get("enabled") == "1"}
    check(enabled == {"tls 1.2", "tls 1.3"}, "TLS 1.2 and 1.3, and nothing older", enabled)
    ciphers = {one.get("cipher") for one in scan.iter("cipher")}
    weak = [cipher for cipher in ciphers if not FORWARD_SECRET.fullmatch(cipher)]
    check(len(ciphers) >= 6 and not weak, f"{len(ciphers)} ciphers, all AEAD with forward secrecy", (ciphers, weak))
    renegotiation = scan.find("renegotiation")
    check(renegotiation.get("supported") == "0", "no renegotiation", renegotiation.attrib)
    compression = scan.find("compression")
    check(compression is None or compression.get("supported") == "0", "no compression", compression)
    bleeding = [one.attrib for one in scan.iter("heartbleed") if one.get("vulnerable") != "0"]
    check(not bleeding, "no heartbeat that bleeds", bleeding)


def known_dangers(address, directory):
    report = directory / "testssl.json"
    # Nobody is asked anything but the listener: no names, no revocation lists.
    offline = ["--nodns", "none", "--warnings", "off", "--quiet", "--color", "0", "--openssl", "/usr/bin/openssl"]
    command = ["testssl", *offline, "--jsonfile", report, *CHECKS, address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
    check(report.exists(), "testssl.sh writes its report", done.stdout[-2000:] + done.stderr[-2000:], quiet=True)
    findings = json.loads(report.read_text())
    found = {finding["id"]: finding for finding in findings}
    for needed in ("TLS1_3", "BREACH", "secure_renego", "CRIME_TLS", "ticketbleed", "ROBOT", "LUCKY13", "scanTime"):
        check(needed in found, f"testssl.sh has looked at {needed}", sorted(found), quiet=True)
    grave = [finding for finding in findings if finding["severity"] not in HARMLESS and finding["id"] not in EXPECTED]
    check(not grave, f"{len(findings)} findings of testssl.sh, none above LOW that is the listener's", grave)
    for name, reason in EXPECTED.items():
        if name in found:
            print(f"expected: {name}: {found[name]['finding']}: {reason}")


def resumed(proxy, version):
    """Two connections, the second with a session of the first; what openssl says of both."""
    session = proxy.directory / f"session{version}"
    command = ["openssl", "s_client", "-connect", f"localhost:{proxy.port}", "-CAfile", proxy.ca, version, "-ign_eof"]
    request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    said = []
    for use in (["-sess_out", session], ["-sess_in", session]):
        done = subprocess.run([*command, *use], input=request, capture_output=True, text=True, timeout=60)
        said.append(done.stdout)
    reused = [re.findall(r"^(New|Reused), ", one, re.MULTILINE)[:1] for one in said]
    check(reused == [["New"], ["Reused"]], f"sessions are resumed by ticket: {version}", said[1][-2000:])
    return "".join(said)


def tickets(proxy):
    resumed(proxy, "-tls1_2")
    said = resumed(proxy, "-tls1_3")
    allowed = re.findall(r"Max Early Data: (\d+)", said)
    check(allowed and set(allowed) == {"0"}, "tickets allow no early data", allowed or said[-2000:])


def main():
    skip_without("sslscan", "testssl", "openssl")
    with Application() as application, Sidecar(application.url) as proxy:
        address = f"127.0.0.1:{proxy.port}"
        offered(address)
        tickets(proxy)
        known_dangers(address, proxy.directory)


if __name__ == "__main__":
    main()
