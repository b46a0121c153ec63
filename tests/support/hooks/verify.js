// verify.js SECRET FILE - exit status 0 when the request in FILE (head, empty line, body) carries a
// signature that the Standard Webhooks library accepts. Time is that of the request, so that a clock
// that a test has moved does not matter.
const fs = require('fs');
const { Webhook } = require('standardwebhooks');

const [secret, file] = process.argv.slice(2);
const request = fs.readFileSync(file);
const end = request.indexOf('\r\n\r\n');
const headers = {};
for (const line of request.subarray(0, end).toString().split('\r\n').slice(1)) {
    const colon = line.indexOf(':');
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
}
try {
    const now = Number(headers['webhook-timestamp']) * 1000;
    Date.now = () => now;
    new Webhook(secret).verify(request.subarray(end + 4).toString(), headers);
} catch (error) {
    console.error(`${error.name}: ${error.message}`);
    process.exit(1);
}
