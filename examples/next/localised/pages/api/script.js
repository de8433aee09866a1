import { counts, tell } from '../../../lib/script';

export default function handler(request, response) {
  if (request.method === 'GET') {
    return response.json(counts(request.query.path));
  }
  const { path, ...orders } = request.body;
  return response.json(tell(path, orders));
}
