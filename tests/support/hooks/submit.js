// submit.js MODE PORT CA KEY FROM TO BCC - sends a mail with nodemailer, over STARTTLS (MODE starttls)
// or TLS from the start (tls), and prints the server's last reply.
const fs = require('fs');
const nodemailer = require('nodemailer');

const [mode, port, ca, key, from, to, bcc] = process.argv.slice(2);
const transport = nodemailer.createTransport({
    host: '127.0.0.1',
    port: Number(port),
    secure: mode === 'tls',
    requireTLS: true,
    auth: { user: 'anybody', pass: key },
    tls: { ca: fs.readFileSync(ca) },
    connectionTimeout: 30000,
    socketTimeout: 30000,
});
transport.sendMail({
    from: { name: '\u00c4nn', address: from },
    to,
    bcc,
    subject: 'Gr\u00fc\u00dfe von nodemailer',
    text: 'Hallo \u00e4\n.\nEnde',
    html: '<p>Hallo \u00e4</p>',
    attachments: [{ filename: '\u00e4.txt', content: 'attached' }],
    headers: { 'X-Meerkat-Tag': 'node', 'X-Meerkat-Metadata': JSON.stringify({ order: 'a b', n: 7 }) },
}).then((info) => console.log(info.response)).catch((error) => {
    console.error(error.message);
    process.exit(1);
});
