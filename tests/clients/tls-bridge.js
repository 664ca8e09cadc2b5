// SPDX-License-Identifier: MIT
// stdin and stdout over TLS: node tls-bridge.js PORT CA-FILE VERSION CIPHERS
// Ends with 0 only after the server's close_notify.
'use strict';
const fs = require('fs');
const tls = require('tls');

const [port, ca, version, ciphers] = process.argv.slice(2);
const socket = tls.connect({
	host: '127.0.0.1', port: Number(port), servername: 'localhost',
	ca: fs.readFileSync(ca), minVersion: version, maxVersion: version, ciphers,
}, () => {
	process.stderr.write(`${socket.getProtocol()} ${socket.getCipher().name}\n`);
	process.stdin.pipe(socket, { end: false });
});
let ended = false;

socket.pipe(process.stdout);
socket.on('end', () => { ended = true; });
socket.on('error', (e) => { process.stderr.write(`${e}\n`); process.exit(2); });
socket.on('close', () => { process.exitCode = ended ? 0 : 3; process.stdin.destroy(); });
