// Read the events of SMS Bridge, each once. Needs amqplib. Exits when the connection is lost: run it under a supervisor.
const amqp = require('amqplib')

const EXCHANGE = 'sms.events'
const QUEUE = 'billing.sms.node' // one queue for each service; its processes share it
const DEAD = QUEUE + '.dead'
const KEYS = ['sms.outbound.*', 'sms.inbound.received']

const seen = new Set() // better: store the ids in your database, in the transaction of your own changes
const MOST = 100000

async function handle (event) {
  console.log(event.type, JSON.stringify(event.subject)) // as JSON: safe on any terminal
}

async function main () {
  const connection = await amqp.connect(process.env.AMQP_URL || 'amqp://guest:guest@127.0.0.1:5672/%2f')
  connection.on('error', error => console.error(error.message))
  connection.on('close', () => process.exit(1))
  const channel = await connection.createChannel()
  await channel.assertExchange(EXCHANGE, 'topic', { durable: true })
  await channel.assertExchange(DEAD, 'fanout', { durable: true })
  await channel.assertQueue(DEAD, { durable: true, arguments: { 'x-queue-type': 'quorum' } })
  await channel.bindQueue(DEAD, DEAD, '')
  await channel.assertQueue(QUEUE, {
    durable: true,
    arguments: { 'x-queue-type': 'quorum', 'x-delivery-limit': 5, 'x-dead-letter-exchange': DEAD }
  })
  for (const key of KEYS) await channel.bindQueue(QUEUE, EXCHANGE, key)
  await channel.prefetch(20)
  await channel.consume(QUEUE, async message => {
    if (message === null) process.exit(1) // the queue was deleted
    try {
      const event = JSON.parse(message.content)
      if (!seen.has(event.id)) {
        await handle(event)
        seen.add(event.id)
        if (seen.size > MOST) seen.delete(seen.values().next().value)
      }
      channel.ack(message)
    } catch (error) {
      console.error(error.name)
      // Retried once after a second, then dead-lettered.
      setTimeout(() => channel.nack(message, false, !message.fields.redelivered), 1000)
    }
  })
  process.on('SIGTERM', async () => {
    connection.removeAllListeners('close')
    await connection.close()
  })
}

main().catch(error => {
  console.error(error.message)
  process.exit(1)
})
