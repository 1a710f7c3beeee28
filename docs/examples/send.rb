# Ask SMS Bridge to send one SMS. Needs bunny.
require 'bunny'
require 'json'
require 'securerandom'

command = {
  id: SecureRandom.uuid, # two commands with one id are one SMS
  destination_address: '+16131234567',
  message: 'Your code is 123456'
}

connection = Bunny.new(ENV.fetch('AMQP_URL', 'amqp://guest:guest@localhost:5672/%2f')).start
channel = connection.create_channel
channel.confirm_select
exchange = channel.exchange('sms.commands', passive: true)
unrouted = false
exchange.on_return { unrouted = true }
exchange.publish(JSON.generate(command), routing_key: 'send', persistent: true, mandatory: true,
                                         content_type: 'application/json')
confirmed = channel.wait_for_confirms
connection.close
abort 'no queue is bound: start the bridge' if unrouted
abort 'the broker refused it' unless confirmed
puts command[:id]
