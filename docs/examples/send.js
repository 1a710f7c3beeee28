// Ask SMS Bridge to send one SMS. Needs amqplib.
const { randomUUID } = require('node:crypto')
const amqp = require('amqplib')

const command = {
  id: randomUUID(), // two commands with one id are one SMS
  destinationAddress: '+16131234567',
  message: 'Your code is 123456'
}

async function main () {
  const connection = await amqp.connect(process.env.AMQP_URL || 'amqp://guest:guest@127.0.0.1:5672/%2f')
  const channel = await connection.createConfirmChannel()
  channel.on('return', () => {
    console.error('no queue is bound: start the bridge')
    process.exitCode = 1
  })
  channel.publish('sms.commands', 'send', Buffer.from(JSON.stringify(command)), {
    persistent: true,
    mandatory: true,
    contentType: 'application/json'
  })
  await channel.waitForConfirms()
  await connection.close()
  if (!process.exitCode) console.log(command.id)
}

main().catch(error => {
  console.error(error.message)
  process.exitCode = 1
})
