export const dynamic = 'force-dynamic';

export async function GET() {
  return Response.json({ now: new Date().toISOString() });
}

export async function POST(request) {
  return Response.json({ echo: await request.json() });
}
